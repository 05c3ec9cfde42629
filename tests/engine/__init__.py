"""Tests of the faster engine."""
