"""The benchmark: this service, the design it replaced, and the limit of the machine, side by side in one run."""
