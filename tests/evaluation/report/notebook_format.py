"""The form of a notebook, nbformat 4.5, as its format document has it (nbformat.readthedocs.io, "The Notebook file
format"): what our two kinds of cells may and must have."""

TEXT = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
ID = {"type": "string", "pattern": "^[a-zA-Z0-9-_]+$", "minLength": 1, "maxLength": 64}
CELL = {
    "oneOf": [
        {
            "type": "object",
            "required": ["id", "cell_type", "metadata", "source"],
            "additionalProperties": False,
            "properties": {
                "id": ID,
                "cell_type": {"enum": ["markdown"]},
                "metadata": {"type": "object"},
                "source": TEXT,
                "attachments": {"type": "object"},
            },
        },
        {
            "type": "object",
            "required": ["id", "cell_type", "metadata", "source", "outputs", "execution_count"],
            "additionalProperties": False,
            "properties": {
                "id": ID,
                "cell_type": {"enum": ["code"]},
                "metadata": {"type": "object"},
                "source": TEXT,
                "outputs": {"type": "array"},
                "execution_count": {"type": ["integer", "null"], "minimum": 0},
            },
        },
    ]
}
NOTEBOOK = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["metadata", "nbformat_minor", "nbformat", "cells"],
    "additionalProperties": False,
    "properties": {
        "nbformat": {"const": 4},
        "nbformat_minor": {"type": "integer", "minimum": 5},
        "metadata": {
            "type": "object",
            "properties": {
                "kernelspec": {"type": "object", "required": ["name", "display_name"]},
                "language_info": {"type": "object", "required": ["name"]},
            },
        },
        "cells": {"type": "array", "items": CELL},
    },
}
