"""Steps: verbs, each a thin ZenML step that calls vision/ and writes to MLflow."""
