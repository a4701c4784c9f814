"""From a CT and contours of one patient to a training set and a tracker."""
