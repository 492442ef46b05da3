package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/aiaas/aiaas/shared/mail"
)

// Folder keeps mails as files that only its owner can read: as they would be sent
// (.eml), and their two parts for a browser (.html) and a terminal (.txt).
type Folder struct {
	dir      string
	envelope envelope
	say      func(string)
}

func newFolder(c Config, dir string, e envelope) *Folder {
	say := c.Say
	if say == nil {
		say = func(string) {}
	}
	return &Folder{dir: dir, envelope: e, say: say}
}

// Send implements [mail.Sender]: the mail is accepted when its files stand in the
// folder under their names. The same mail again replaces them.
func (f *Folder) Send(ctx context.Context, m mail.Message) error {
	msg, err := f.envelope.compose(m)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	var whole bytes.Buffer
	if _, err := msg.WriteTo(&whole); err != nil {
		return &mail.RefusedError{Reason: "it can't be encoded", Err: err}
	}
	if err := f.write(m, whole.Bytes()); err != nil {
		return &mail.PostponedError{Reason: "the folder for mails can't be written to", Down: true, Err: err}
	}
	f.say(fmt.Sprintf("Mail to %s: %s  %s", m.To, m.Subject, f.link(m.ID)))
	return nil
}

// link is the address of the page of a mail.
func (f *Folder) link(id string) string {
	path := filepath.Join(f.dir, id+".html")
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

func (f *Folder) write(m mail.Message, whole []byte) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make folder for mails: %w", err)
	}
	for _, file := range []struct {
		suffix  string
		content []byte
	}{{".txt", []byte(m.Text)}, {".html", []byte(m.HTML)}, {".eml", whole}} { // the .eml last: then the others are there
		if err := replace(filepath.Join(f.dir, m.ID+file.suffix), file.content); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file so that it is there whole or not at all.
func replace(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".mail-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write mail: %w", err)
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write mail: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// Check implements [Mailer].
func (f *Folder) Check(context.Context) error {
	dir := f.dir
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		dir = filepath.Dir(dir) // it is made with the first mail
	}
	probe, err := os.CreateTemp(dir, ".mail-*")
	if err != nil {
		return fmt.Errorf("write into the folder for mails: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("write into the folder for mails: %w", err)
	}
	return nil
}

// String implements [Mailer].
func (f *Folder) String() string { return "files in " + f.dir }
