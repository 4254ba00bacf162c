"""What measures the service: benchmark, perf_analyzer sweeps and soak test."""
