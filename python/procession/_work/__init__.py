"""Pools: tasks, who runs them, and what becomes of them when somebody dies."""
