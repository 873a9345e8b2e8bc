"""Optimizers, schedules, triggers, validation methods, and `Optimizer`, which trains."""
