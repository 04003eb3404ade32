"""The scorecard: many metrics of many maps in few passes of the network, with intervals, tests and controls."""
