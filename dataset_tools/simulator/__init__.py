"""Two arms at a table in MuJoCo: scripted episodes in RoboTwin's own layouts; see `python -m dataset_tools.simulator --help`."""
