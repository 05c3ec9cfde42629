"""Tests of purer_lightning.running.tracking."""
