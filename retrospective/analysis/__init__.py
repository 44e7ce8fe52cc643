"""From rows of trials to effects, verdicts and figures. Nothing here starts a server or knows a notebook."""
