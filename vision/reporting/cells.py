"""Cells: texts in CSV files that a spreadsheet does not take for formulas."""

import re

FORMULA = r"^[=+\-@\t\r]"  # what a spreadsheet would compute instead of showing


def plain_cell(text: str) -> str:
    """Return the text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if re.match(FORMULA, text) else text


def text_of_cell(cell: str) -> str:
    """Return the text that `plain_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and re.match(FORMULA, cell[1:]) else cell
