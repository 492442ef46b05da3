package openai

import "crypto/tls"

// Allowed is asked before each connection, with the address that is dialled.
func Allowed(address string) error { return allowed("tcp", address, nil) }

// TrustAll lets a client call servers with certificates that tests make.
func (c *Client) TrustAll() {
	c.transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // a test's own server
}
