"""Pictures and references -> scores per picture, means with intervals, under a named protocol."""
