"""Stack: everything that talks to ZenML, MLflow and the machine."""
