"""Step analyze_balance: count the classes and weigh them."""

from typing import Annotated

from zenml import step

from configs.data_settings import BalanceSettings
from materializers.report_materializer import ReportMaterializer
from stack.run_log import measured
from vision.data.balance import BalanceReport, analyze_classes
from vision.data.faces import FaceSet


@step(output_materializers=ReportMaterializer)
def analyze_balance(faces: FaceSet, balance: BalanceSettings, seed: int) -> Annotated[BalanceReport, "balance"]:
    """Count the classes as they came, and derive the class weights that follow from these counts."""
    with measured():
        return analyze_classes(faces, balance, seed)
