"""Evaluation: probabilities scored against labels."""
