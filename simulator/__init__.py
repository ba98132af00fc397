"""Two arms at a table in MuJoCo: scripted episodes, written in RoboTwin's own layouts."""
