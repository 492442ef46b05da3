package throttle

// AttemptOf is what an attempt takes from.
func AttemptOf(kind Kind, k Keys) Attempt { return attempt(kind, k) }
