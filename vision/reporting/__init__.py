"""Reporting: facts as JSON, figures and pages."""
