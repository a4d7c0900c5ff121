"""Trials of the outbox that run for as long as one likes: a short one of each is among the tests."""
