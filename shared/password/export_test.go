package password

// Occupy takes all turns of a hasher until release is called.
func Occupy(h *Hasher) (release func()) {
	h.turns.mu.Lock()
	defer h.turns.mu.Unlock()
	n := h.turns.free
	h.turns.free = 0
	return func() {
		for range n {
			h.turns.done()
		}
	}
}

// Turns is how many hashes are computed at once at most.
func Turns(h *Hasher) int { return h.turns.atOnce }

// Length is how many may wait in a line of a hasher.
func Length(h *Hasher, l Line) int { return h.turns.atOnce * l.length() }

// Free is how many turns nobody has.
func Free(h *Hasher) int {
	h.turns.mu.Lock()
	defer h.turns.mu.Unlock()
	return h.turns.free
}
