"""What is concluded: the lab, the experiments, the statistics and the written retrospective."""
