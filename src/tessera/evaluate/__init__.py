"""Pictures and references -> scores per picture, means with intervals, and the protocol they were measured under."""
