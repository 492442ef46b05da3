package audit

// Asking is how many wait for the verification of an organisation.
func (s *Service) Asking(org string) int {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	if fl := s.flights.by[org]; fl != nil {
		return fl.asking
	}
	return 0
}
