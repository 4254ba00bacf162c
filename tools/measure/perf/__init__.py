"""Sweeps of Triton with NVIDIA's perf_analyzer."""
