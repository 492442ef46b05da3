package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/aiaas/aiaas/shared/audit"
	"github.com/aiaas/aiaas/shared/fault"
)

// maxFile is the longest file that is read back, in bytes.
const maxFile = 64 << 20

// BucketConfig says where a bucket is. What is empty follows from the environment,
// as do the credentials: the client of AWS looks for them where all its clients do.
type BucketConfig struct {
	Bucket    string
	Prefix    string // of all names
	Region    string
	Endpoint  string // of a store other than AWS's
	PathStyle bool   // the bucket stands in the path, not in the host's name
}

// Bucket keeps files in a bucket. The store must know conditional writes: without
// them a file could be overwritten.
type Bucket struct {
	client *s3.Client
	bucket string
	prefix string
}

var _ audit.Files = (*Bucket)(nil)

// OpenBucket makes the client of a bucket. It does not ask the bucket anything.
func OpenBucket(ctx context.Context, c BucketConfig) (*Bucket, error) {
	var options []func(*config.LoadOptions) error
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("configure the client of %s: %w", c.Bucket, err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = c.PathStyle
		// Other stores than AWS's know no checksums in trailers.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
	})
	b := &Bucket{client: client, bucket: c.Bucket}
	if c.Prefix != "" {
		b.prefix = c.Prefix + "/"
	}
	return b, nil
}

// Close implements [Store].
func (b *Bucket) Close() error { return nil }

func (b *Bucket) key(name string) *string { return aws.String(b.prefix + name) }

// Put implements [audit.Files].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	if err := check(name); err != nil {
		return err
	}
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.key(name), Body: bytes.NewReader(data), IfNoneMatch: aws.String("*"),
	})
	switch code := codeOf(err); {
	case code == "PreconditionFailed", code == "ConditionalRequestConflict": // the latter: another is being written
		return fault.New(fault.Conflict, "there is a file %s already", name)
	case err != nil:
		return failed("store", name, err)
	}
	return nil
}

// Get implements [audit.Files].
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	if err := check(name); err != nil {
		return nil, err
	}
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.key(name)})
	if _, missing := errors.AsType[*types.NoSuchKey](err); missing {
		return nil, fault.New(fault.NotFound, "there is no file %s", name)
	}
	if err != nil {
		return nil, failed("read", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, maxFile+1))
	if err := errors.Join(err, out.Body.Close()); err != nil {
		return nil, failed("read", name, err)
	}
	if len(data) > maxFile {
		return nil, fault.New(fault.Internal, "the file %s has more than %d bytes", name, maxFile)
	}
	return data, nil
}

// List implements [audit.Files].
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	in := &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: b.key(prefix), Delimiter: aws.String("/")}
	if after != "" {
		in.StartAfter = b.key(after)
	}
	return func(yield func(string, error) bool) {
		for pages := s3.NewListObjectsV2Paginator(b.client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield("", failed("list", prefix, err))
				return
			}
			for _, o := range page.Contents {
				if !yield(strings.TrimPrefix(aws.ToString(o.Key), b.prefix), nil) {
					return
				}
			}
		}
	}
}

// Delete implements [audit.Files].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := check(name); err != nil {
		return err
	}
	if _, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.key(name)}); err != nil {
		return failed("delete", name, err)
	}
	return nil
}

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// failed gives an error of the store the code by which it is known that trying
// again may help.
func failed(attempted, name string, err error) error {
	err = fmt.Errorf("%s %s: %w", attempted, name, err)
	status, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err)
	code := 0 // no answer at all
	if ok {
		code = status.HTTPStatusCode()
	}
	if code == 0 || code >= http.StatusInternalServerError || code == http.StatusTooManyRequests {
		return fault.Wrap(fault.Unavailable, attempted+" a file", err)
	}
	return err
}
