//! Segments that failed their checksum: known to the catalogue, read by nobody, deleted with their time.

use sqlx::Connection as _;

use super::{Catalogue, DataFile, file_crc, tier};
use crate::error::Error;

impl Catalogue {
    /// Notes that `files` are not to be read. What ended meanwhile is passed over.
    pub(crate) async fn quarantine(&self, files: &[DataFile]) -> Result<(), Error> {
        let wrap = || Error::catalogue("put segments in quarantine");
        let mut connection = self.connection().await?;
        let mut tx = connection.begin().await.map_err(wrap())?;
        for file in files {
            let marked = DataFile { is_quarantined: true, ..file.clone() };
            sqlx::query(
                "UPDATE data_file SET tier = $1, row_crc = $2 WHERE id = $3 AND end_snapshot IS NULL",
            )
            .bind(tier(true))
            .bind(file_crc(&marked))
            .bind(file.id)
            .execute(&mut *tx)
            .await
            .map_err(wrap())?;
        }
        tx.commit().await.map_err(wrap())
    }
}
