"""Lightning callbacks: image grids, run folder, throughput."""
