"""Distributed estimators, one room for each framework."""
