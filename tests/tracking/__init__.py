"""Tests of purer_lightning.tracking."""
