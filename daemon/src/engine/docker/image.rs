//! Images: loaded, never pulled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_format::Product;
use bollard::query_parameters::{
    ImportImageOptions, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::{StreamExt, stream};

use super::{ASK, Docker, WORK, failure, map, missing_is_fine, within};
use crate::engine::{EngineError, Result, TarStream};

/// Neither a byte taken nor a word said for so long is the end of a load. Docker unpacks a whole
/// layer between two words, so this is what the largest layer may take on the slowest disk.
const STALLED: Duration = Duration::from_mins(30);

impl Docker {
    pub(super) async fn load_images(&self, mut tar: TarStream) -> Result<()> {
        let moved = Arc::new(AtomicU64::new(0));
        let broken = Arc::new(Mutex::new(None));
        let (taken, why) = (Arc::clone(&moved), Arc::clone(&broken));
        let body = stream::poll_fn(move |context| {
            tar.poll_recv(context).map(|chunk| {
                taken.fetch_add(1, Ordering::Relaxed);
                if let Some(Err(error)) = &chunk {
                    *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
                chunk
            })
        });
        let client = self.client()?;
        let load = async {
            let mut answers = client.import_image_stream(ImportImageOptions::default(), body, None);
            while let Some(answer) = answers.next().await {
                moved.fetch_add(1, Ordering::Relaxed);
                answer.map_err(|error| failure("the images", error))?;
            }
            Ok(())
        };
        let stalled = async {
            loop {
                let before = moved.load(Ordering::Relaxed);
                tokio::time::sleep(STALLED).await;
                if moved.load(Ordering::Relaxed) == before {
                    return;
                }
            }
        };
        let result = tokio::select! {
            result = load => result,
            () = stalled => Err(EngineError::TimedOut(STALLED)),
        };
        let ours = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, ours) {
            // What broke off on our side explains everything that came after.
            (_, Some(why)) => Err(EngineError::Refused(why)),
            // Docker hung up in the middle of the upload, which it also does when it has said no.
            (Err(EngineError::Gone(why)), None) => match self.api().await {
                Ok(_) => Err(EngineError::Refused(format!("the load broke off: {why}"))),
                Err(_) => Err(EngineError::Gone(why)),
            },
            (result, None) => result,
        }
    }

    pub(super) async fn has_image(&self, id: &str) -> Result<bool> {
        let client = self.client()?;
        let found = within(ASK, id, client.inspect_image(id)).await;
        Ok(missing_is_fine(found.map(Some))?.is_some())
    }

    /// Docker leaves what a container uses its last tag; whoever removes that container next may
    /// ask again, so this is success.
    pub(super) async fn untag(&self, tag: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new().build();
        let client = self.client()?;
        let request = client.remove_image(tag, Some(options), None);
        match missing_is_fine(within(WORK, tag, request).await.map(|_| ())) {
            Err(EngineError::Refused(why))
                if why.contains("is using its referenced image")
                    || why.contains("image is being used by") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    pub(super) async fn tags_of(&self, product: &Product) -> Result<Vec<String>> {
        let prefix = format!("berth.local/{product}/");
        let filters = map::filters([("reference", format!("{prefix}*"))]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let client = self.client()?;
        let list = within(ASK, "images", client.list_images(Some(options))).await?;
        let mut tags: Vec<_> = list
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .filter(|tag| tag.starts_with(&prefix))
            .collect();
        tags.sort_unstable();
        Ok(tags)
    }
}
