"""Has the traffic left what the model was trained on? Reference profiles, robust statistics, verdicts."""
