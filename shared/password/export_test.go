package password

// Occupy takes all turns of a hasher until release is called.
func Occupy(h *Hasher) (release func()) {
	for range cap(h.turns) {
		h.turns <- struct{}{}
	}
	return func() {
		for range cap(h.turns) {
			<-h.turns
		}
	}
}

// Turns is how many hashes are computed at once at most.
func Turns(h *Hasher) int { return cap(h.turns) }
