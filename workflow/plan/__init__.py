"""From the configuration to runs, groups, paths and specs; pure Python without torch."""
