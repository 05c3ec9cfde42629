"""Tests of purer_lightning.pool."""
