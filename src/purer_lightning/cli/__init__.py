"""The command line: commands, Lightning's CLI behind three of them, bundled configurations, sentences about usage."""

from purer_lightning.cli.commands import COMMANDS, main

__all__ = ["COMMANDS", "main"]
