"""The benchmark's methods: one file each, with `adapt(job) -> AdaptedModel`."""
