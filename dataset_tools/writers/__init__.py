"""Writers: episodes to RoboTwin's and LeRobot's layouts."""
