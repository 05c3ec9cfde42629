"""The names of a run's files, each declared here alone; those of its checkpoints stand in ``checkpoints``."""

CONFIG = "config.yaml"  # resolved; also in the folders of a validation and a test
METRICS = "metrics.csv"
TIMES = "times.csv"
SUMMARY = "summary.json"
PSEUDO_IMAGES = "pseudo_images.png"
RESULTS = "results.json"  # with EPISODES in the folder of a validation or a test
EPISODES = "episodes.csv"
REPORT = "report.html"
PREDICTIONS = "predictions.csv"
COMMIT = "commit.txt"  # of the code, in the results that a repository keeps
OF_FIT = "fit_"  # there, begins the names of a fit's CONFIG and COMMIT: the tests beside it have files of these names
