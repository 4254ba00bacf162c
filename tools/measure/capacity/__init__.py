"""How much hardware a rate of images takes: a small model from the benchmark's figures, held against measurements."""
