"""The service: requests in, answers out. Imports neither ZenML, MLflow, Keras nor TensorFlow, and no step."""
