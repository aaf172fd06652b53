//! Segments as an object store, for readers that know nothing else: every block is checked as it is read.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::scan::SegmentScan;

const NAME: &str = "headrope segments";

/// Read-only view of some segments, by absolute path. Their files stay readable as long as it is held.
#[derive(Debug)]
pub struct SegmentFiles {
    by_path: HashMap<Path, SegmentScan>,
}

impl SegmentFiles {
    /// A view of `segments`.
    #[must_use]
    pub fn new(segments: &[SegmentScan]) -> Self {
        let located = |segment: &SegmentScan| {
            Some((Path::from_absolute_path(&segment.path).ok()?, segment.clone()))
        };
        Self { by_path: segments.iter().filter_map(located).collect() }
    }

    fn segment(&self, location: &Path) -> Result<&SegmentScan> {
        self.by_path.get(location).ok_or_else(|| object_store::Error::NotFound {
            path: location.to_string(),
            source: "the plan does not name this segment".into(),
        })
    }
}

impl fmt::Display for SegmentFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: NAME, source: source.into() }
}

fn read_only() -> object_store::Error {
    object_store::Error::NotSupported { source: "segments never change".into() }
}

/// Reads on the blocking pool; what fails its checksum is an error that names file and offset.
async fn read(segment: SegmentScan, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
    let task = tokio::task::spawn_blocking(move || segment.read(&ranges).map_err(generic));
    task.await.map_err(generic)?
}

#[async_trait]
impl ObjectStore for SegmentFiles {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let segment = self.segment(location)?.clone();
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size: segment.bytes,
            e_tag: None,
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = match options.range {
            Some(range) => range.as_range(segment.bytes).map_err(generic)?,
            None => 0..segment.bytes,
        };
        let payload = if options.head {
            stream::empty().boxed()
        } else {
            let bytes = read(segment, vec![range.clone()]).await?;
            stream::iter(bytes.into_iter().map(Ok)).boxed()
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: Default::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        read(self.segment(location)?.clone(), ranges.to_vec()).await
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        stream::iter([Err(read_only())]).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter([Err(read_only())]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}
