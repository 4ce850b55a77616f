"""The experiment tracker of our own ZenML stack: MLflow without a login that would be stored."""

import os

import mlflow
from zenml.config.step_run_info import StepRunInfo
from zenml.experiment_trackers.base_experiment_tracker import BaseExperimentTrackerConfig, BaseExperimentTrackerFlavor
from zenml.integrations.mlflow.experiment_trackers import MLFlowExperimentTracker
from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerSettings

from stack.error_messages import StoreError, talking_to_mlflow
from stack.failures import write_failure

FLAVOR = "mlflow_by_environment"
ADDRESS = "FACE_EMOTION_TRACKING_URI"  # not MLFLOW_TRACKING_URI, which ZenML empties after each step


class EnvironmentTrackerConfig(BaseExperimentTrackerConfig, MLFlowExperimentTrackerSettings):
    """What ZenML may keep: the address without user and password."""

    tracking_uri: str


class EnvironmentTracker(MLFlowExperimentTracker):
    """Tracks to the address in the environment, and leaves user, password and token there for MLflow to find.

    A step in a process of its own has no such address; it takes the one that ZenML keeps, which has no login. ZenML's
    own tracker wants them in its configuration, which its store keeps, and writes that over the environment when a step
    starts.
    """

    def get_tracking_uri(self, as_plain_text: bool = True) -> str:
        """Return the address that MLflow uses, or the one that may be shown."""
        kept = str(self.config.tracking_uri)
        return os.environ.get(ADDRESS, kept) if as_plain_text else kept

    def configure_mlflow(self) -> None:
        """Point MLflow to the address."""
        mlflow.set_tracking_uri(self.get_tracking_uri())

    def prepare_step_run(self, info: StepRunInfo) -> None:
        """Enter the MLflow run of the step's pipeline run. Raises StoreError where MLflow does not answer."""
        try:
            with talking_to_mlflow(self.get_tracking_uri()):
                super().prepare_step_run(info)
        except StoreError as error:  # before the step: no hook would note it
            write_failure(error, info.pipeline_step_name, info.run_id)
            raise


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
