"""Vision: the subject in plain NumPy, Keras and OpenCV; knows neither ZenML nor MLflow."""
