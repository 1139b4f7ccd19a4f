"""Findings as files that people look at: one HTML file for an evaluation, one sheet (HTML, PNG) for a comparison."""

from tessera.report.evaluation import write_report as write_report
