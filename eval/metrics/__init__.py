"""The metrics: one file each, which declares and computes it. docs/add-a-metric.md says how to add one.

`metric` has the types of a declaration and a value, `sample` the input, `catalogue` the list of all.
"""
