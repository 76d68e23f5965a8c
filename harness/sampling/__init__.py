"""The mathematics of sampling: dynamics, solvers, discretizations, schedules, stochasticity. Imports torch alone."""
