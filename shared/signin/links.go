package signin

import (
	"context"
	"errors"
	"time"

	"github.com/aiaas/aiaas/shared/fault"
	"github.com/aiaas/aiaas/shared/function"
	"github.com/aiaas/aiaas/shared/id"
	"github.com/aiaas/aiaas/shared/mail"
	"github.com/aiaas/aiaas/shared/throttle"
)

const (
	// linkFor is how long a link works.
	linkFor = time.Hour
	// liveLinks is how many links a person has that work. Who asks for more has them in
	// his mailbox; links that were sent stay good, so that nobody takes them from him by
	// asking.
	liveLinks = 5
	// askedFor is how long it is worth answering who asked for a link.
	askedFor  = time.Hour
	linkBatch = 200
	// RequestID is the prefix of the ids of requests for a link.
	RequestID = "rst"
)

// Request is somebody who says that he forgot his password.
type Request struct {
	ID      string
	Email   string // in lower case; of anybody or nobody
	Address string
	At      time.Time
}

// Forgot takes a request for a link. It is the same for every address: whether there
// is such a person is found out later, by [Links].
func (p *Passwords) Forgot(ctx context.Context, email string, from From) error {
	r := Request{ID: id.New(RequestID), Email: fold(email), Address: from.Address, At: p.Now()}
	if err := p.Throttle.Take(ctx, throttle.Forgot, throttle.Keys{Account: r.Email, Address: from.Address, Device: from.Device}); err != nil {
		return err
	}
	return p.Keep.Request(ctx, r)
}

// Link is a link to be sent.
type Link struct {
	Hash      Hash
	UserID    string
	CreatedAt time.Time
	ExpiresAt time.Time
	Note      mail.Note
}

// LinkStore answers requests for links, and forgets what is past its time.
type LinkStore interface {
	// Answer takes one request, whichever, and, where it is of a person who may work
	// somewhere and has less than most links that work, keeps the link that is made for
	// him and queues its mail: one transaction. Two at once take two requests. It reports
	// whether there was one, and whether a link was made.
	Answer(ctx context.Context, most int, now time.Time, link func(r Request, a Account) (Link, error)) (taken, made bool, err error)
	// Prune forgets requests from before asked, and challenges and links that expired
	// before expired.
	Prune(ctx context.Context, asked, expired time.Time) (int64, error)
}

// Links answers requests for links.
type Links struct {
	Store  LinkStore
	Sealer mail.Sealer
	Now    func() time.Time
}

// Send is the job that sends links to those who asked for one, and are somebody.
func (l *Links) Send(ctx context.Context) (function.Counts, error) {
	var made int64
	var errs []error
	for range linkBatch {
		taken, one, err := l.Store.Answer(ctx, liveLinks, l.Now(), l.link)
		if err != nil {
			// The next may be another one: a request that can't be answered holds up none.
			if errs = append(errs, err); fault.Is(err, fault.Unavailable) || len(errs) > 3 {
				break
			}
			continue
		}
		if !taken {
			break
		}
		if one {
			made++
		}
	}
	if made == 0 { // what was asked for nobody is not counted: counts can be read
		return nil, errors.Join(errs...)
	}
	return function.Counts{"links": made}, errors.Join(errs...)
}

func (l *Links) link(r Request, a Account) (Link, error) {
	text, hash := token()
	now := l.Now()
	out := Link{Hash: hash, UserID: a.UserID, CreatedAt: now, ExpiresAt: now.Add(linkFor)}
	note, err := mail.NewNote("", a.UserID, mail.KindPasswordReset, mail.PasswordReset{Expires: out.ExpiresAt, Address: r.Address}, now)
	if err != nil {
		return Link{}, err
	}
	out.Note, err = note.Linking(l.Sealer, text)
	return out, err
}

// Prune is the job that forgets what is past its time.
func (l *Links) Prune(ctx context.Context) (function.Counts, error) {
	now := l.Now()
	n, err := l.Store.Prune(ctx, now.Add(-askedFor), now)
	if n == 0 {
		return nil, err
	}
	return function.Counts{"rows": n}, err
}
