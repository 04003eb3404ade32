"""CF-CAM: channels in clusters, their gradients filtered, their evidence shared."""
