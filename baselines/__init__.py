"""The benchmark's methods: one file each, all answering `adapt(job) -> AdaptedModel`."""
