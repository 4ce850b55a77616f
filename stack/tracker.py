"""The experiment tracker of our own ZenML stack: MLflow without a login that would be stored."""

from typing import ClassVar

import mlflow
from zenml.experiment_trackers.base_experiment_tracker import BaseExperimentTrackerConfig, BaseExperimentTrackerFlavor
from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerSettings

FLAVOR = "mlflow_by_environment"


class EnvironmentTrackerConfig(BaseExperimentTrackerConfig, MLFlowExperimentTrackerSettings):
    """What ZenML may keep: the address without user and password."""

    tracking_uri: str


class EnvironmentTracker(MLFlowExperimentTracker):
    """Tracks to the address, and leaves to MLflow to find user, password or token in the environment.

    ZenML's own tracker wants them in its configuration, which its store keeps in base64, and puts them over the
    environment's when a step starts.
    """

    address: ClassVar[str] = ""  # with a database's login; set for this process, for MLflow empties the environment's

    def get_tracking_uri(self, as_plain_text: bool = True) -> str:
        """Return the address that MLflow uses, or the one that may be shown."""
        return self.address if as_plain_text else str(self.config.tracking_uri)

    def configure_mlflow(self) -> None:
        """Point MLflow to the address."""
        mlflow.set_tracking_uri(self.get_tracking_uri())


class EnvironmentTrackerFlavor(BaseExperimentTrackerFlavor):
    """The kind of component that ZenML's store names."""

    @property
    def name(self) -> str:
        return FLAVOR

    @property
    def config_class(self) -> type[EnvironmentTrackerConfig]:
        return EnvironmentTrackerConfig

    @property
    def implementation_class(self) -> type[EnvironmentTracker]:
        return EnvironmentTracker
