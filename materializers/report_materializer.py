"""ReportMaterializer: what a step reports, as JSON, PNG figures and a page that shows both."""

import json
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.io import fileio
from zenml.materializers.base_materializer import BaseMaterializer

from vision.reporting.reports import Report

FACTS, PAGE = "report.json", "page.html"


class ReportMaterializer(BaseMaterializer):
    """Stores any Report; shows its page.

    Its numbers are MLflow's alone (`stack.run_log.log_report`): ZenML would write each of some 270 after an evaluation
    in two transactions, which took a second or two of a short run.
    """

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Report,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: Report) -> None:
        content = {"facts": data.facts(), "figures": list(data.figures)}
        with fileio.open(f"{self.uri}/{FACTS}", "w") as file:
            file.write(json.dumps(content))
        for name, png in data.figures.items():
            with fileio.open(f"{self.uri}/{name}", "wb") as file:
                file.write(png)

    def load(self, data_type: type[Any]) -> Report:
        with fileio.open(f"{self.uri}/{FACTS}") as file:
            content = json.loads(file.read())
        figures = {}
        for name in content["figures"]:
            with fileio.open(f"{self.uri}/{name}", "rb") as file:
                figures[name] = file.read()
        report: Report = data_type.from_facts(content["facts"], figures)
        return report

    def save_visualizations(self, data: Report) -> dict[str, VisualizationType]:
        with fileio.open(f"{self.uri}/{PAGE}", "w") as file:
            file.write(data.page())
        return {f"{self.uri}/{PAGE}": VisualizationType.HTML}
