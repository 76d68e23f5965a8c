"""Samplers in the words of other tools, one file a tool, and the settings of other tools as samplers.

What only reads (`settings`, `targets` and the tools that they lead to) works on a sampler's JSON and on noise levels
that are known, and loads no torch: reports use it. `linear_program` follows a sampler, and `scheduler_config` makes
one.
"""
